"""What the figures are made of: protocols, measures, sentences that several share; each says so in its first line."""
