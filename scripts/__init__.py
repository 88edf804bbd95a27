"""What makes files of the checkout anew: run by hand, and held against them by tests."""
