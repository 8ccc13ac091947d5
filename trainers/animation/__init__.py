"""What `trainers.animate` is made of: reading what a person gives, one animator per stage, writing the files."""
