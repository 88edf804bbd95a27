output "hosts" {
  description = "Name of each host to its Ansible variables: how Ansible reaches it, and how its fellows do."
  value = {
    for name, instance in aws_instance.this : name => {
      ansible_host = var.site.public_addresses ? instance.public_ip : instance.private_ip
      address      = instance.private_ip
    }
  }
}

output "instance_ids" {
  description = "Name of each host to the id of its instance."
  value       = { for name, instance in aws_instance.this : name => instance.id }
}

output "security_group_id" {
  description = "Id of the hosts' security group."
  value       = aws_security_group.this.id
}
