"""The autoencoders, built from the contract's layer lists."""
