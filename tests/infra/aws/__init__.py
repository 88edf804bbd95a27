"""What Terraform makes, checked: by its own tests, by checkov, and in AWS as far as a simulator plays it."""
