# Worker aggregators. Only the load balancer reaches their port, and only they reach the master's.

module "hosts" {
  source = "../hosts"

  site             = var.site
  tier             = "worker"
  number           = var.number
  instance_type    = var.instance_type
  volume_size      = var.volume_size
  instance_profile = var.instance_profile
}

resource "aws_vpc_security_group_ingress_rule" "worker_from_load_balancer" {
  security_group_id            = module.hosts.security_group_id
  description                  = "Clients and health checks by the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
  referenced_security_group_id = aws_security_group.load_balancer.id
}

resource "aws_vpc_security_group_egress_rule" "worker_to_master" {
  security_group_id            = module.hosts.security_group_id
  description                  = "Workers to the master"
  ip_protocol                  = "tcp"
  from_port                    = var.master_port
  to_port                      = var.master_port
  referenced_security_group_id = var.master_security_group_id
}

resource "aws_vpc_security_group_ingress_rule" "master_from_worker" {
  security_group_id            = var.master_security_group_id
  description                  = "Workers to the master"
  ip_protocol                  = "tcp"
  from_port                    = var.master_port
  to_port                      = var.master_port
  referenced_security_group_id = module.hosts.security_group_id
}
