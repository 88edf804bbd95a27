# Who may do what in S3: the master reads and writes the federation's keys, workers read them. Clients are not here.

locals {
  # Policies name the bucket by its name, so that a plan shows them whole.
  bucket_arn = "arn:${var.partition}:s3:::${var.bucket}"
  objects    = ["${local.bucket_arn}/${var.prefix}/*", "${local.bucket_arn}/${var.bucket_key}"]

  read = [
    {
      Sid      = "ReadRounds"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = local.objects
    },
    {
      # With it, S3 says of an object that is not there that it is missing, and not that it is forbidden. Whether a
      # request for an object counts as one that names a prefix, S3 does not say: one without a prefix is allowed too.
      Sid       = "ToldWhatIsMissing"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [local.bucket_arn]
      Condition = { StringLikeIfExists = { "s3:prefix" = ["${var.prefix}/*", var.bucket_key] } }
    },
  ]
  write = [
    {
      # Nothing is ever deleted. Models come in parts; those of a broken upload are given up.
      Sid      = "WriteRounds"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
      Resource = local.objects
    },
  ]
  statements = {
    master = concat(local.read, local.write)
    worker = local.read
  }
}

resource "aws_iam_role" "this" {
  for_each = local.statements

  name        = "${var.federation}-${var.region}-${each.key}"
  description = "What a ${each.key} host of the federation ${var.federation} may do in AWS"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "rounds" {
  for_each = local.statements

  name   = "rounds"
  role   = aws_iam_role.this[each.key].name
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

resource "aws_iam_instance_profile" "this" {
  for_each = aws_iam_role.this

  name = each.value.name
  role = each.value.name
}
