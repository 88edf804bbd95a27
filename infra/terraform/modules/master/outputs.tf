output "hosts" {
  description = "The host's name to its Ansible variables."
  value       = module.hosts.hosts
}

output "security_group_id" {
  description = "Id of the master's security group."
  value       = module.hosts.security_group_id
}
