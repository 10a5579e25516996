"""The pytest plugin: releases under traffic as tests."""
