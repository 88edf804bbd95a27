output "hosts" {
  description = "Name of each host to its Ansible variables."
  value       = module.hosts.hosts
}
