"""Networks on weighted axes, their training and their infinite-width limit."""
