"""What makes the reference from the code: one module for each kind of page."""
