output "hosts" {
  description = "Name of each host to its Ansible variables."
  value       = module.hosts.hosts
}

output "load_balancer_dns" {
  description = "DNS name of the load balancer."
  value       = aws_lb.workers.dns_name
}

output "load_balancer_security_group_id" {
  description = "Id of the load balancer's security group."
  value       = aws_security_group.load_balancer.id
}
