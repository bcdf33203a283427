def train(lr=0.1, depth="2"):
    import os
    lr = float(lr)
    print("env", {k: v for k, v in os.environ.items() if k.startswith("PET_") or k in ("RANK","WORLD_SIZE","MASTER_ADDR")})
    print(f"loss={(lr - 0.03) ** 2 + int(float(depth)):.6f}")

train(**{'lr': '0.055586823784042096', 'depth': '2'})