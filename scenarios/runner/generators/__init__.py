"""Load that several generators send from elsewhere, such as from pods, as one run's evidence."""
