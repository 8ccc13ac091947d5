"""What happens around training, one small Lightning callback each."""
