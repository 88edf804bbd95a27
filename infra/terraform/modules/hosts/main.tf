# Hosts of one tier: hardened alike, with names that stay when their number changes, and a group that lets SSH in.

locals {
  # The hosts take turns with the subnets, and so with the zones.
  subnets = { for index in range(var.number) : "${var.tier}-${index}" => var.site.subnet_ids[index % length(var.site.subnet_ids)] }
}

resource "aws_security_group" "this" {
  name        = "${var.site.federation}-${var.tier}"
  description = "Hosts of the federation's tier ${var.tier}"
  vpc_id      = var.site.vpc_id

  tags = { Name = "${var.site.federation}-${var.tier}" }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.site.ssh_cidrs)

  security_group_id = aws_security_group.this.id
  description       = "SSH from where Ansible runs"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = strcontains(each.value, ":") ? null : each.value
  cidr_ipv6         = strcontains(each.value, ":") ? each.value : null
}

# Packages, S3, and for clients the load balancer. AWS's name and time servers need no rule.
resource "aws_vpc_security_group_egress_rule" "web" {
  for_each = { http = 80, https = 443 }

  security_group_id = aws_security_group.this.id
  description       = "Packages and services by ${each.key}"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_instance" "this" {
  for_each = local.subnets

  ami                    = var.site.ami_id
  instance_type          = var.instance_type
  subnet_id              = each.value
  vpc_security_group_ids = [aws_security_group.this.id]
  key_name               = var.site.key_pair
  iam_instance_profile   = var.instance_profile
  ebs_optimized          = true
  # Not true: a host that is stopped has no public address, and would be made anew for that.
  associate_public_ip_address = var.site.public_addresses ? null : false
  # All that Ansible needs; the rest is Ansible's.
  user_data = file("${path.module}/cloud-init.yaml")

  metadata_options {
    http_endpoint = "enabled"
    # IMDSv2 only, and out of reach behind one more hop.
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.volume_size
    encrypted             = true
    delete_on_termination = true
  }

  dynamic "instance_market_options" {
    for_each = var.spot ? [1] : []
    content {
      market_type = "spot"
    }
  }

  tags = { Name = "${var.site.federation}-${each.key}" }

  lifecycle {
    # Canonical publishes an image every few weeks; that must not make all hosts anew.
    ignore_changes = [ami]
  }
}
