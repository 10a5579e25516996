"""How a verdict is shown to people and to machines: pure functions of a verdict and of evidence."""
