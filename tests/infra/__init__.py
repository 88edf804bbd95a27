"""Tests of `infra`: what needs Terraform, Ansible or hosts of its own. All of them bear the marker ``infra``."""
