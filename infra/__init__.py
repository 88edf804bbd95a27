"""How a federation is brought up elsewhere than on one machine."""
