"""Pages and pictures, from the evidence alone."""
