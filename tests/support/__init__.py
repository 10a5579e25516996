"""What tests share: the things under test as processes, and peers that do as they are told."""
