"""What an agent may do, one tool a class."""
