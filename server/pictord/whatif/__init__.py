"""What if another policy had routed these requests: what would it have cost, taken and refused?"""
