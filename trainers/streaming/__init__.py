"""What `trainers.stream` is made of: sound as it arrives, windows of it, parts that work at once, frames out."""
