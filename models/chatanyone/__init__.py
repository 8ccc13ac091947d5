"""ChatAnyone: a portrait of the upper body that answers in real time."""
