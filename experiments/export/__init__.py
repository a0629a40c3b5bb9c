"""What leaves evounet: the found UNet in the forms that other programs read, each verified."""
