"""Short and pet forms of given names, as data: each line is one name in its forms, the formal one first.

Belongs here: common forms that spelling similarity does not find. Does not belong here: spelling variants (jon, john)
that it does.
"""

from __future__ import annotations

_FORMS = """
abigail abby gail
abraham abe bram
albert al bert bertie
alexander alex alec sandy xander sascha sasha
alexandra alex sandra sasha lexi
alfred alf alfie fred
amanda mandy
andrew andy drew
anna ann anne annie nan nancy
anthony tony
antonio tony toni
archibald archie
arthur art
augustus gus august
barbara barb babs
benjamin ben benny
bernard bernie
bertram bert
caroline carrie lina
catherine kate katie kathy cathy kitty kit kathleen
cecilia cissy celia
charles charlie chuck chas carlos karl carl
charlotte lottie charlie
christian chris
christine chris chrissy tina
christopher chris kit topher
clarence clar
cornelius con neil
cynthia cindy
daniel dan danny
david dave davy
deborah deb debbie
dominic dom nick
donald don donny
dorothy dot dottie dolly
edmund ed ned eddie
edward ed eddie ned ted teddy
edwin ed eddie
eleanor ellie nell nora
elizabeth liz lizzie beth betty bess eliza libby lisa elsie betsy
emily em emmy
ernest ernie
eugene gene
florence flo florrie flossie
frances fran fanny frankie
francis frank fran
francisco paco pancho
franklin frank
frederick fred freddie fritz
friedrich fritz fred
gabriel gabe
gabrielle gabby
george georgie jorge
gerald gerry jerry
gertrude trudy gertie
gilbert gil bert
giuseppe beppe
gregory greg
hannah anna
harold harry hal
harriet hattie
helen nell ellen lena
henrietta etta hetty
henry harry hal hank heinrich enrique henri
herbert bert herb
hubert bert hugh
isaac ike
isabella bella izzy isabel
jacob jake jack
jacqueline jackie
james jim jimmy jamie jem
jane janie jenny
janet jan
jeffrey jeff geoff
jennifer jen jenny
jeremiah jerry
jerome jerry
jessica jess jessie
joan joanie
johannes hans johann
john jack johnny jock
jonathan jon
jose pepe
joseph joe joey jo
josephine jo josie
joshua josh
judith judy
julia julie
katherine kate katie kathy kitty kay
kenneth ken kenny
lawrence larry laurie
leonard leo len lenny
leopold leo
lewis lew lou
lillian lily lil
louis lou louie
louise lou
lucille lucy
lucinda lucy cindy
ludwig lutz
madeline maddie
margaret maggie meg peggy madge greta daisy marge
maria mia mary
marjorie marge
martha mattie patty
martin marty
mary molly polly mae may mamie
matilda tilly mattie
matthew matt
maurice morris mo
maximilian max
michael mike mick mickey mikey
mildred millie
montague monty
nathaniel nat nathan nate
nicholas nick nicky klaus
nicola nicky
oliver ollie
oscar ozzie
oswald ozzie
pamela pam
patricia pat patty trish
patrick pat paddy
penelope penny
peter pete
philip phil pip
phyllis phil
priscilla cilla
rachel ray
raymond ray
rebecca becky
reginald reg reggie
richard dick rick ricky richie rich
robert bob bobby rob robbie robin bert
roderick rod
rodney rod
roger rodge
roland rollo
ronald ron ronnie
rosemary rose rosie
rudolph rudy rolf
rupert bert
samantha sam
samuel sam sammy
sarah sally sadie
sebastian seb bastian
sidney sid
silvester sly
simon si
sophia sophie
stanley stan
stephanie steph
stephen steve steven
stuart stu
susan sue susie suzy susannah
sylvester sly
terence terry
theodore ted teddy theo
theresa terry tess tessa
thomas tom tommy
timothy tim
tobias toby
ulysses lys
ursula uschi
valentine val
victor vic
victoria vicky tori
vincent vince vinny
virginia ginny
walter walt wally
wilfred wilf fred
wilhelm willi willy
wilhelmina mina minnie
william will bill billy willie liam
winifred winnie fred
winston win
zachary zach zack
"""


def given_name_roots() -> dict[str, str]:
    """Each short form of exactly one name -> that name; forms of several (bert, chris) prove too little."""
    formals: dict[str, list[str]] = {}
    lines = [line.split() for line in _FORMS.strip().splitlines()]
    for formal, *shorts in lines:
        for short in shorts:
            formals.setdefault(short, []).append(formal)
    own_names = {formal for formal, *_ in lines}
    return {short: names[0] for short, names in formals.items() if len(names) == 1 and short not in own_names}
