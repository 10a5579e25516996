"""What is recorded beside the traffic while a run goes on: locks, the balancer's events, reads."""
