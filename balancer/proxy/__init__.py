"""The data plane: downstream, upstream, and the forwarding between them."""
