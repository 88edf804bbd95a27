# Client hosts. They have no role: all that they may do, they may by their tokens.

module "hosts" {
  source = "../hosts"

  site          = var.site
  tier          = "client"
  number        = var.number
  instance_type = var.instance_type
  volume_size   = var.volume_size
  spot          = var.spot
}

resource "aws_vpc_security_group_ingress_rule" "admitted" {
  for_each = var.admitted ? module.hosts.hosts : {}

  security_group_id = var.load_balancer_security_group_id
  description       = "Host ${each.key}"
  ip_protocol       = "tcp"
  from_port         = var.load_balancer_port
  to_port           = var.load_balancer_port
  # A public load balancer sees the address that Ansible sees too.
  cidr_ipv4 = "${each.value.ansible_host}/32"
}

# Web ports are open already.
resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  count = contains([80, 443], var.load_balancer_port) ? 0 : 1

  security_group_id = module.hosts.security_group_id
  description       = "Clients to the load balancer"
  ip_protocol       = "tcp"
  from_port         = var.load_balancer_port
  to_port           = var.load_balancer_port
  cidr_ipv4         = "0.0.0.0/0"
}
