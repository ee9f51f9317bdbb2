// Runs the reference server whose package is named, by its environment, until SIGTERM. Says when it listens.
const { PDS, envToCfg, envToSecrets, readEnv } = await import(process.argv[2])

const environment = readEnv()
const pds = await PDS.create(envToCfg(environment), envToSecrets(environment))
await pds.start()
console.log('listening')

process.once('SIGTERM', async () => {
  await pds.destroy()
  console.log('stopped')
  process.exit(0)
})
