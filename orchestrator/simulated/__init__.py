"""The simulated world: replicas, a balancer, a database and users in virtual time.

What decides is the real code: the strategies, the rollout and the release runner on one side, and
the balancer's pool, health policy, outlier detection and retry budget on the other. Only what
takes time in the real world is modelled: processes, networks, queues and locks.

    world_settings what the world is like: how long things take, what breaks
    chance         one stream of random numbers a component, and distributions
    events         the queue of everything that happens, between the deadlines of tasks
    replica        one replica: starting, serving, stopping, its queue of requests
    platform       starts and stops replicas (`orchestrator.interfaces.Platform`)
    balancer       the pool and its health checks (`orchestrator.interfaces.Router`)
    request        one request, and what the parts around it say to each other
    exchanges      the way of each request through the balancer and a replica
    prober         health checks: the real policy, and only the checks that matter
    schema         the database: what each version can do with it, and who waits for locks
    users          who sends what, when
    journeys       what users do after their first request, and users who stay
    faults         what is broken on purpose
    search         searches for schedules in which a rollout breaks a promise
    batches        steady stretches of traffic, many requests at once (needs numpy)
    arrays         draws by the thousand (needs numpy)
    world          all of it together
"""
