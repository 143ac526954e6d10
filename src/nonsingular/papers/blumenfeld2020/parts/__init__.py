"""What the figures are made of: no figure stands here."""
