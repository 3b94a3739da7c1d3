import asyncio, sys, tempfile, traceback, collections, time
from pathlib import Path
from tests.servers import Server
from tests.matrix.features import *
from tests.matrix.world import Book, watch
from tests.matrix.play import play_here
from tests.matrix.checks import problems
books={}
def settled(prefix, settler, pairs):
    b=books.get(prefix)
    if b:
        for item,ans in pairs: b.note("settled", item.id.decode(), scene=prefix, verb=item.verb.decode(), answer=ans)
async def main(names, width):
    watch(settled)
    folder=Path(tempfile.mkdtemp())
    todo=[(a,b) for a,b in PAIRS if (not names or a.name in names or b.name in names) and twice(a,b) is None]
    if len(names)==2: todo=[(a,b) for a,b in todo if {a.name,b.name}==set(names)]
    print(len(todo))
    sem=asyncio.Semaphore(width); out=[]
    with Server('valkey') as server:
        async def one(i,a,b):
            async with sem:
                t=time.monotonic()
                prefix=f"p{i}"; book=books[prefix]=Book()
                try:
                    async with asyncio.timeout(60):
                        play=await play_here(server,prefix,[a.name,b.name],folder,book)
                    p=problems(play)
                    out.append((a.name,b.name,'bad' if p else 'ok',p[:4],time.monotonic()-t))
                except BaseException as e:
                    tb=traceback.extract_tb(e.__traceback__)
                    out.append((a.name,b.name,'raised',f"{type(e).__name__}: {e} @ {[f'{f.name}:{f.lineno}' for f in tb][-3:]}"[:600],time.monotonic()-t))
                if out[-1][2]!='ok': print(*out[-1],flush=True)
        t=time.monotonic()
        await asyncio.gather(*(one(i,a,b) for i,(a,b) in enumerate(todo)))
        print(collections.Counter(o[2] for o in out), time.monotonic()-t, 'slowest', sorted(((o[4],o[0],o[1]) for o in out))[-5:])
asyncio.run(main(sys.argv[2:], int(sys.argv[1])))
