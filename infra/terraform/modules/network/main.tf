# A VPC with one public subnet in each of some zones; or the VPC that is there.

locals {
  made = var.vpc_id == null
  # Local zones, which must be asked for, have neither all instance types nor load balancers of all kinds.
  zones = length(var.availability_zones) > 0 ? var.availability_zones : slice(data.aws_availability_zones.here.names, 0, min(2, length(data.aws_availability_zones.here.names)))
}

data "aws_availability_zones" "here" {
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_subnet" "given" {
  for_each = toset(var.subnet_ids)

  id = each.value

  lifecycle {
    postcondition {
      condition     = self.vpc_id == var.vpc_id
      error_message = "The subnet ${self.id} is in ${self.vpc_id}, not in ${coalesce(var.vpc_id, "a VPC that was named")}; name subnets of vpc_id."
    }

    postcondition {
      condition     = self.map_public_ip_on_launch || !var.public_addresses
      error_message = "The subnet ${self.id} gives hosts no public address (its auto-assign setting is off); name public subnets, or set public_addresses = false and come through a VPN."
    }
  }
}

resource "aws_vpc" "this" {
  count = local.made ? 1 : 0

  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.federation }
}

# What is in no other group may do nothing.
resource "aws_default_security_group" "this" {
  count = local.made ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${var.federation}-nothing" }
}

resource "aws_internet_gateway" "this" {
  count = local.made ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.federation }
}

resource "aws_subnet" "public" {
  for_each = local.made ? { for index, zone in local.zones : zone => index } : {}

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  # Eight parts of the network, whatever the number of zones: another zone moves none.
  cidr_block              = cidrsubnet(var.cidr, 3, each.value)
  map_public_ip_on_launch = true

  tags = { Name = "${var.federation}-${each.key}" }
}

resource "aws_route_table" "public" {
  count = local.made ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.federation }
}

resource "aws_route" "internet" {
  count = local.made ? 1 : 0

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public[0].id
}

# Models go to S3 and back without leaving AWS's network, and for free.
resource "aws_vpc_endpoint" "s3" {
  count = local.made ? 1 : 0

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public[0].id]

  tags = { Name = "${var.federation}-s3" }
}
