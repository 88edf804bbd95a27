"""Brings a federation up on other machines, and tears it down: Terraform makes them, Ansible sets them up.

In: an inventory, or the variables of ``infra/terraform``. Out: a `Site`, which says where everything is; and progress
of every resource and host while it comes to be. It works from a checkout, where ``infra/`` lies beside this package.
"""
