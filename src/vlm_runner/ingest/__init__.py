"""The hot path: rows in, images and record lines in S3 out, in one pass, in bounded memory."""
