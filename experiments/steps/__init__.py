"""Step distillation: chains of stages that end in UNets that draw in few steps."""
