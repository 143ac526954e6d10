"""What an entry of a paper declares: spec -> results -> figure and claims; and how that is run and reported."""
