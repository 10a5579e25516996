"""What one user does: journeys as they are declared, compiled to requests."""
