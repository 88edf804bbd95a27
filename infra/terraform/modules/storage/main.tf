# The bucket for round models: private, versioned, encrypted, by TLS only.

resource "aws_s3_bucket" "models" {
  bucket        = var.bucket
  force_destroy = var.delete_models_on_destroy
}

resource "aws_s3_bucket_ownership_controls" "models" {
  bucket = aws_s3_bucket.models.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "models" {
  bucket = aws_s3_bucket.models.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "models" {
  bucket = aws_s3_bucket.models.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "models" {
  bucket = aws_s3_bucket.models.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "models" {
  bucket = aws_s3_bucket.models.id

  rule {
    id     = "old-rounds"
    status = "Enabled"

    filter {
      prefix = "${var.prefix}/rounds/"
    }

    # It is read in milliseconds, as before: a master that comes back after a year starts from the newest round.
    transition {
      days          = var.old_rounds_after_days
      storage_class = "STANDARD_IA"
    }

    dynamic "expiration" {
      for_each = var.delete_rounds_after_days == null ? [] : [var.delete_rounds_after_days]
      content {
        days = expiration.value
      }
    }
  }

  rule {
    id     = "left-overs"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.old_rounds_after_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # Without versions there is nothing for the second rule.
  depends_on = [aws_s3_bucket_versioning.models]
}

resource "aws_s3_bucket_policy" "models" {
  bucket = aws_s3_bucket.models.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [local.arn, "${local.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # AWS refuses two changes of one bucket's access at once.
  depends_on = [aws_s3_bucket_public_access_block.models]
}

locals {
  # From its name, so that a plan shows the whole policy.
  arn = "arn:${var.partition}:s3:::${var.bucket}"
}
