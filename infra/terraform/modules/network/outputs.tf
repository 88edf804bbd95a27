output "vpc_id" {
  description = "Id of the VPC."
  value       = local.made ? aws_vpc.this[0].id : var.vpc_id
}

output "subnet_ids" {
  description = "Ids of the subnets, in the order of their zones."
  value       = local.made ? [for zone in local.zones : aws_subnet.public[zone].id] : [for id in var.subnet_ids : data.aws_subnet.given[id].id]

  # Hosts fetch packages as soon as they boot.
  depends_on = [aws_route.internet, aws_route_table_association.public]
}
