"""What the plugin costs, beside the tools that people use instead and the limits of the machine."""
