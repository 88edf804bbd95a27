terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100.0"
    }
  }

  # Partial: the bucket and its region come with `terraform init -backend-config=...`; bootstrap/ makes the bucket.
  backend "s3" {
    key          = "fedtier/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
