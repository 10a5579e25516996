"""What was measured: counts, availability, latency, downtime, waits for locks."""
