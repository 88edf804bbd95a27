output "master_instance_profile" {
  description = "Name of the master's instance profile."
  value       = aws_iam_instance_profile.this["master"].name

  # A host that boots must find its role able.
  depends_on = [aws_iam_role_policy.rounds]
}

output "worker_instance_profile" {
  description = "Name of the workers' instance profile."
  value       = aws_iam_instance_profile.this["worker"].name

  depends_on = [aws_iam_role_policy.rounds]
}
