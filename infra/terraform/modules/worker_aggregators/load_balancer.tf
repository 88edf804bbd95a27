# A Network Load Balancer: TLS passes through it to the workers, so no key of theirs is in AWS's hands.

resource "aws_security_group" "load_balancer" {
  name        = "${var.site.federation}-load-balancer"
  description = "Load balancer of the federation"
  vpc_id      = var.site.vpc_id

  tags = { Name = "${var.site.federation}-load-balancer" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.load_balancer.id
  description       = "Clients"
  ip_protocol       = "tcp"
  from_port         = var.load_balancer_port
  to_port           = var.load_balancer_port
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "load_balancer_to_worker" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "Load balancer to workers"
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
  referenced_security_group_id = module.hosts.security_group_id
}

resource "aws_lb" "workers" {
  name                             = "${var.site.federation}-workers"
  load_balancer_type               = "network"
  internal                         = !var.site.public_addresses
  subnets                          = var.site.subnet_ids
  security_groups                  = [aws_security_group.load_balancer.id]
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "workers" {
  # Another port needs another group, and the listener wants that before it lets go of this one.
  name                 = "${var.site.federation}-${var.port}"
  port                 = var.port
  protocol             = "TCP"
  vpc_id               = var.site.vpc_id
  target_type          = "instance"
  deregistration_delay = 120

  # A worker that is draining, or does not reach the master, says so there.
  health_check {
    protocol            = "HTTPS"
    path                = "/readyz"
    port                = "traffic-port"
    matcher             = "200"
    interval            = 10
    timeout             = 6
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "workers" {
  load_balancer_arn = aws_lb.workers.arn
  port              = var.load_balancer_port
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.workers.arn
  }
}

resource "aws_lb_target_group_attachment" "workers" {
  for_each = module.hosts.instance_ids

  target_group_arn = aws_lb_target_group.workers.arn
  target_id        = each.value
  port             = var.port
}
