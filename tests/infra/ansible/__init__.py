"""What can be told of `infra/ansible` without a host: that it is well formed, and what follows from an inventory."""
