"""ChatAnyone: its stages."""
