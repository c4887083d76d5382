"""Stage II: the policy, the trainer and its algorithms, advantages, critic and reward-hacking watch."""
