"""A round-robin HTTP/1.1 load balancer with active health checks."""
