# Measures one peer of a figure: FIGURE RUN_SECONDS; or `version`, or `has MODULE`. Prints one number
# (a version; nothing). Part of bulkhead-bench, which runs it anew for each measurement.
# Workers of the standard library are forked, which is its quickest way.
import importlib.util
import multiprocessing as mp
import operator, os, platform, signal, statistics, sys, time
from concurrent.futures import ProcessPoolExecutor
from copy import copy as echo  # of bytes: the same; any worker knows it by name

def square(x): return x * x

def operations_per_second(run_s, count_max, run):
    count = 4
    repeated = repeated_s = 0
    while True:
        seconds = max(run(count), 1e-9)
        if count == count_max:
            repeated += count
            repeated_s += seconds
            if repeated_s >= run_s: return repeated / repeated_s
            continue
        if seconds >= run_s: return count / seconds
        count = min(count_max, int(count * min(max(1.1 * run_s / seconds, 2), 50)))

def median_sample(run_s, sample):
    start = time.perf_counter()
    values = []
    while len(values) < 3 or time.perf_counter() - start < run_s: values.append(sample())
    return statistics.median(values)

def submit_then_get(run_s, submit, get):
    def run(count):
        start = time.perf_counter()
        results = [submit(i % 1000) for i in range(count)]
        total = 0
        for result in results: total += get(result)
        seconds = time.perf_counter() - start
        assert total > 0
        return seconds
    return operations_per_second(run_s, 1_000_000, run)

def trip_us(submit, get):
    start = time.perf_counter()
    assert get(submit(7)) == 49
    return (time.perf_counter() - start) * 1e6

def round_trip_us(run_s, submit, get):
    trips = []
    def run(count):
        trips.clear()
        start = time.perf_counter()
        for _ in range(count): trips.append(trip_us(submit, get))
        return time.perf_counter() - start
    operations_per_second(run_s, 1 << 40, run)
    return statistics.median(trips)

def idle_trip_us(run_s, submit, get):
    trip_us(submit, get)
    def sample():
        time.sleep(0.01)
        return trip_us(submit, get)
    return median_sample(run_s, sample)

def map_items(run_s, pool):
    def run(count):
        start = time.perf_counter()
        results = pool.map(square, range(count))
        seconds = time.perf_counter() - start
        assert len(results) == count
        return seconds
    return operations_per_second(run_s, 10_000_000, run)

def echo_mib(run_s, submit):
    data = b'x' * (16 << 20)
    def run(count):
        start = time.perf_counter()
        for _ in range(count): assert len(submit(echo, data).result()) == len(data)
        return time.perf_counter() - start
    return 16 * operations_per_second(run_s, 1 << 40, run)

def first_result_ms(run_s, make_pool, get_one):
    def sample():
        start = time.perf_counter()
        with make_pool() as pool:
            assert get_one(pool) == 49
            return (time.perf_counter() - start) * 1e3
    return median_sample(run_s, sample)

def write_numbers(numbers, reader_is_there, count):
    reader_is_there.wait()
    for i in range(count): numbers.put(i)
    numbers.put(None)

def read_numbers(numbers, reader_is_there, took_s):
    reader_is_there.set()
    numbers.get()
    start = time.perf_counter()
    while numbers.get() is not None: pass
    took_s.send(time.perf_counter() - start)

def queue_messages(run_s):
    def run(count):
        numbers = mp.Queue()
        reader_is_there = mp.Event()
        took_s, sender = mp.Pipe(False)
        writer = mp.Process(target=write_numbers, args=(numbers, reader_is_there, count))
        reader = mp.Process(target=read_numbers, args=(numbers, reader_is_there, sender))
        writer.start(); reader.start(); writer.join(); reader.join()
        return took_s.recv()
    return operations_per_second(run_s, 1 << 30, run)

def with_executor(kind, run_s, pool, submit):
    '''Of an executor as in concurrent.futures; submit(x) gives a future of x * x.'''
    result = lambda future: future.result()
    with pool:
        if kind == 'submit': return submit_then_get(run_s, submit, result)
        if kind == 'trip': return round_trip_us(run_s, submit, result)
        if kind == 'idle-trip': return idle_trip_us(run_s, submit, result)
        if kind == 'echo': return echo_mib(run_s, pool.submit)

def measure_pool(kind, workers, run_s):
    submit = lambda x: pool.apply_async(square, (x,))
    get = lambda result: result.get()
    if kind == 'first':
        return first_result_ms(run_s, lambda: mp.Pool(workers), lambda pool: pool.apply(square, (7,)))
    with mp.Pool(workers) as pool:
        if kind == 'submit': return submit_then_get(run_s, submit, get)
        if kind == 'trip': return round_trip_us(run_s, submit, get)
        if kind == 'map': return map_items(run_s, pool)

def measure_futures(kind, workers, run_s):
    if kind == 'first':
        return first_result_ms(run_s, lambda: ProcessPoolExecutor(workers),
                               lambda pool: pool.submit(square, 7).result())
    pool = ProcessPoolExecutor(workers)
    return with_executor(kind, run_s, pool, lambda x: pool.submit(square, x))

def measure_loky(kind, workers, run_s):
    from joblib.externals.loky import get_reusable_executor
    pool = get_reusable_executor(max_workers=workers)
    return with_executor(kind, run_s, pool, lambda x: pool.submit(operator.mul, x, x))

def measure_mpi(kind, workers, run_s):
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1',
                      OMPI_MCA_rmaps_base_oversubscribe='1')
    from mpi4py.futures import MPIPoolExecutor
    pool = MPIPoolExecutor(workers)
    return with_executor(kind, run_s, pool, lambda x: pool.submit(operator.mul, x, x))

def measure(which, run_s):
    library, kind, workers = (which.split() + ['1', '1'])[:3]
    if library == 'queue': return queue_messages(run_s)
    measure_with = {'pool': measure_pool, 'futures': measure_futures, 'loky': measure_loky,
                    'mpi': measure_mpi}[library]
    return measure_with(kind, int(workers), run_s)

if __name__ == '__main__':
    signal.alarm(120)  # in case it hangs
    mp.set_start_method('fork')
    if sys.argv[1] == 'version':
        print(platform.python_version())
    elif sys.argv[1] == 'has':
        sys.exit(0 if importlib.util.find_spec(sys.argv[2]) else 1)
    else:
        print(measure(sys.argv[1], float(sys.argv[2])))
