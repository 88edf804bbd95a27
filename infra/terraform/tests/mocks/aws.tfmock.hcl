# What a plan without a cloud takes for AWS's answers.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}
mock_data "aws_partition" {
  defaults = { partition = "aws" }
}
mock_data "aws_availability_zones" {
  defaults = { names = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"] }
}
mock_data "aws_subnet" {
  defaults = { vpc_id = "vpc-0123456789abcdef0", map_public_ip_on_launch = true }
}
mock_resource "aws_lb" {
  defaults = {
    arn      = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/net/fedtier-workers/0123456789abcdef"
    dns_name = "fedtier-workers.example.com"
  }
}
mock_resource "aws_lb_target_group" {
  defaults = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/fedtier-workers/0123456789abcdef" }
}
mock_resource "aws_instance" {
  # As in a subnet that gives public addresses.
  defaults = { public_ip = "203.0.113.20", private_ip = "10.42.0.20", associate_public_ip_address = true }
}
